"""What is answered to each kind of bad input, and which tests prove it. The tests named here must exist."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DECODE = "tests/ml/images/test_decode.py"
FETCH = "tests/ml/images/test_fetch.py"
API = "tests/api/test_bad_input.py"
SCORE = "tests/api/test_score.py"
REGISTER = "tests/worker/stages/test_register.py"
CHECK = "tests/ml/test_check_bundle.py"
ARCHIVE = "tests/ml/test_bundle_archive.py"
TABLE = "tests/worker/importers/test_table.py"
ROWS = "tests/worker/importers/test_snapshot_rows.py"
SNAPSHOTS = "tests/worker/importers/test_snapshots.py"

PROOFS: dict[str, tuple[str, ...]] = {
    "an address of this machine or of a private network, however it is written: url_blocked": (
        f"{FETCH}::TestAddresses::test_private_addresses_are_blocked_however_they_are_written",
        f"{FETCH}::TestAddresses::test_special_addresses_are_not_public",
        f"{SCORE}::TestUnscored::test_a_forbidden_url_is_refused",
    ),
    "another scheme, or a user name in the URL: refused before any lookup": (
        f"{FETCH}::TestUrls::test_what_is_no_plain_web_address_is_refused_before_any_lookup",
    ),
    "a name with one private address among public ones: blocked": (
        f"{FETCH}::TestAddresses::test_one_private_answer_blocks_a_name",
    ),
    "a name that turns private after the check: one lookup, the judged address, no hit": (
        f"{FETCH}::TestAddresses::test_a_name_is_looked_up_once_and_the_judged_address_is_used",
        f"{FETCH}::TestAddresses::test_a_name_that_turns_private_after_the_first_lookup_never_reaches_a_local_server",
    ),
    "a redirect to this machine: redirect_blocked, no hit": (
        f"{FETCH}::TestRedirects::test_a_redirect_is_judged_like_a_first_url",
        f"{FETCH}::TestRedirects::test_a_redirect_to_another_server_on_loopback_never_reaches_it",
    ),
    "redirects without end: too_many_redirects": (f"{FETCH}::TestRedirects::test_more_are_too_many",),
    "a body or headers without end: too_large": (
        f"{FETCH}::TestBodies::test_a_body_over_the_cap_is_cut_off",
        f"{FETCH}::TestBodies::test_headers_over_the_cap_are_cut_off",
    ),
    "a server that drips: timeout": (
        f"{FETCH}::TestBodies::test_a_server_that_drips_runs_into_the_total_time",
        f"{FETCH}::TestTurns::test_waiting_for_a_turn_counts_as_time_and_another_host_need_not_wait",
    ),
    "a compressed bomb: compressed, unread": (
        f"{FETCH}::TestBodies::test_an_answer_that_is_compressed_though_asked_not_to_is_refused_unread",
    ),
    "a page instead of a picture: not_an_image, the row kept": (
        f"{FETCH}::TestBodies::test_the_content_decides_and_not_the_declared_type",
        f"{SCORE}::TestUnscored::test_a_dead_url_is_recorded",
    ),
    "too many pixels, also where the library only warns: too_many_pixels": (
        f"{DECODE}::TestRefused::test_too_many_pixels_are_refused_from_the_header",
        f"{DECODE}::TestRefused::test_jpeg_webp_and_gif_headers_are_judged_too",
        f"{SCORE}::TestUnscored::test_a_huge_picture_is_refused_before_it_is_decoded",
    ),
    "a cut picture: truncated": (
        f"{DECODE}::TestRefused::test_a_cut_image_is_truncated",
        f"{DECODE}::TestRefused::test_a_jpeg_without_its_end_is_truncated",
    ),
    "an empty file, a byte, no pixels: not_an_image": (
        f"{DECODE}::TestRefused::test_no_image",
        f"{DECODE}::TestRefused::test_an_image_without_pixels_is_none",
        f"{SCORE}::TestUnscored::test_an_unreadable_image_has_a_reason_and_no_score",
    ),
    "another format: format_not_allowed": (
        f"{DECODE}::TestRefused::test_other_formats_are_named_and_refused",
        f"{DECODE}::TestRefused::test_formats_that_pillow_could_read_are_refused",
    ),
    "CMYK, 16 bits, palette, transparency, one bit: taken, as RGB": (
        f"{DECODE}::TestAccepted::test_cmyk_jpeg_shows_the_colours_it_means",
        f"{DECODE}::TestAccepted::test_16_bit_grey_is_scaled_and_not_clipped",
        f"{DECODE}::TestAccepted::test_grey_one_bit_and_palette_become_rgb",
        f"{DECODE}::TestAccepted::test_transparency_is_laid_over_black",
    ),
    "every orientation: taken, upright": (f"{DECODE}::TestAccepted::test_every_orientation_comes_out_upright",),
    "several pictures in one file: the first; over 500 frames refused": (
        f"{DECODE}::TestAccepted::test_an_mpo_gives_its_first_picture_as_a_jpeg",
        f"{DECODE}::TestAccepted::test_the_first_picture_of_an_animation_counts",
        f"{DECODE}::TestRefused::test_too_many_frames_are_refused",
        f"{DECODE}::TestRefused::test_500_frames_are_taken",
    ),
    "a script behind a picture: kept as it is, harmless": (
        f"{DECODE}::TestAccepted::test_a_script_behind_a_jpeg_changes_nothing",
    ),
    "huge or recursive metadata: dropped or bad_metadata": (
        f"{DECODE}::TestMetadata::test_broken_exif_is_dropped_without_a_warning",
        f"{DECODE}::TestMetadata::test_a_text_chunk_that_unpacks_to_a_bomb_is_bad_metadata",
    ),
    "a file name that leads elsewhere: a name is text": (f"{API}::TestFileNames::test_a_file_name_names_nothing",),
    "a broken form, a body too long: 4xx, nothing left": (
        f"{API}::TestForms::test_a_broken_form_is_refused_and_leaves_no_file",
        f"{API}::TestForms::test_a_form_without_its_boundary_is_refused",
    ),
    "JSON that is none, too deep, not finite, with NUL: 422": (
        f"{API}::TestJson::test_what_is_no_plain_json_is_422_on_every_route",
        f"{API}::TestJson::test_text_that_the_database_would_choke_on_is_422",
    ),
    "an odd id, or nobody's: 422, 404": (
        f"{API}::TestIds::test_an_odd_id_is_refused_on_every_route",
        f"{API}::TestIds::test_an_id_that_nobody_has_is_404_on_every_route",
    ),
    "an unknown filter or order: 422": (
        f"{API}::TestLists::test_a_filter_that_is_not_known_is_422_and_hears_which_are",
        f"{API}::TestLists::test_only_named_orders_are_taken",
    ),
    "a CSV of another encoding, separator or shape: refused whole, with what to do": (
        f"{TABLE}::test_a_file_whose_rows_are_all_doubtful_is_refused_with_what_to_do",
        f"{TABLE}::test_what_is_no_plain_file_is_refused",
        f"{SNAPSHOTS}::test_a_broken_last_line_leaves_nothing_of_the_good_ones_before_it",
    ),
    "a bad row of a CSV: refused alone, by line, column and reason": (
        f"{TABLE}::test_one_bad_line_is_refused_and_the_others_are_read",
        f"{SNAPSHOTS}::test_a_bad_row_is_named_and_never_stops_the_good_ones",
        f"{SNAPSHOTS}::test_a_line_too_long_for_a_row_is_refused_alone",
        f"{SNAPSHOTS}::test_a_known_webcam_stays_as_stored_and_the_report_says_so_once",
    ),
    "an image path that leaves its directory, a pipe, a device: refused": (
        f"{ROWS}::test_what_leads_elsewhere_or_is_no_plain_file_is_refused",
    ),
    "markup and formulas in names: text, and quoted in a CSV": (
        f"{SNAPSHOTS}::test_names_of_any_script_are_text_and_come_back_as_they_were",
        "tests/ml/test_manifest.py::test_no_text_begins_like_a_formula_and_each_comes_back_as_it_was",
        "tests/ml/test_manifest.py::test_any_text_comes_back",
    ),
    "a model with files elsewhere, unknown operators, false sizes, no end: bad_model": (
        f"{CHECK}::test_a_bad_graph_is_refused_in_words",
        f"{CHECK}::test_what_is_no_whole_onnx_is_refused",
        f"{CHECK}::test_facts_that_do_not_hold_are_refused",
        f"{CHECK}::test_a_graph_that_asks_for_more_memory_than_there_is_ends_its_own_process_only",
        f"{CHECK}::test_a_graph_that_never_ends_is_stopped",
        "tests/ml/test_bundle.py::test_json_that_no_bundle_writes_is_refused",
        "tests/ml/test_bundle.py::test_every_golden_image_is_the_one_that_was_described",
        f"{REGISTER}::test_a_bad_bundle_fails_the_job_for_good_and_leaves_nothing_in_the_store",
    ),
    "an archive with odd names, links, bombs, false sizes: refused, nothing unpacked": (
        f"{ARCHIVE}::test_a_name_that_is_not_plain_is_refused",
        f"{ARCHIVE}::test_a_link_or_a_device_is_refused",
        f"{ARCHIVE}::test_a_bomb_is_refused_by_its_stated_size_without_unpacking_it",
        f"{ARCHIVE}::test_a_size_that_lies_is_noticed",
        "tests/api/test_training.py::TestRegistration::test_an_archive_that_is_no_bundle_is_refused",
    ),
    "weights that would run a command: refused, nothing run": (
        "tests/bad_input/test_weights.py::test_a_pickle_that_would_run_a_command_is_refused_and_runs_nothing",
        "tests/bad_input/test_weights.py::test_a_file_that_is_no_whole_set_of_tensors_is_refused",
    ),
    "YAML with objects, or that grows without end: refused": (
        "tests/ml/training/test_recipe.py::TestReading::test_what_is_no_plain_recipe_is_refused_in_plain_words",
    ),
}


@cache
def found_in(path: str) -> frozenset[str]:
    """The tests of a file, as `function` or `Class::function`."""
    found = set()
    for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
    return frozenset(name for name in found if name.rpartition("::")[2].startswith("test_"))


@pytest.mark.parametrize("answer", PROOFS)
def test_each_answer_has_tests_that_exist(answer: str) -> None:
    proofs = PROOFS[answer]
    assert proofs
    for proof in proofs:
        path, _, name = proof.partition("::")
        assert name in found_in(path), f"{path} has no {name}: name the test that took its place"
