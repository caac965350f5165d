"""Reading bodies that are whole and mean one thing only."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

from fastapi import Request
from starlette import status
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser

from api.errors import BodyTooLarge
from ml.strict_json import parse_json

MAX_JSON_BYTES = 2 << 20
"""Of a JSON body without a picture in it: parsing more would hold up every other request."""


class _WholeForm(MultiPartParser):
    """Refuses a form that ends before its last boundary, which Starlette takes for one with fewer parts and whose
    unfinished file it leaves open.
    """

    _has_ended = False

    def on_end(self) -> None:
        self._has_ended = True

    async def parse(self) -> FormData:
        form = await super().parse()
        if not self._has_ended:
            for file in self._files_to_close_on_error:
                file.close()
            raise MultiPartException("the form breaks off before its last boundary")
        return form


class StrictRequest(Request):
    """A request whose JSON is read by `parse_json`, and whose form must be whole."""

    async def json(self) -> Any:
        """The body as JSON.

        Raises:
            json.JSONDecodeError: It is none, or one that means two things.
            BodyTooLarge: It is larger than any of our fields asks for.
        """
        if not hasattr(self, "_json"):
            body = await self.body()
            if len(body) > MAX_JSON_BYTES:
                raise BodyTooLarge(MAX_JSON_BYTES)
            self._json = parse_json(body)
        return self._json

    async def _get_form(
        self, *, max_files: int | float = 1000, max_fields: int | float = 1000, max_part_size: int = 1 << 20
    ) -> FormData:
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if self._form is not None or kind != "multipart/form-data":
            return await super()._get_form(max_files=max_files, max_fields=max_fields, max_part_size=max_part_size)
        try:
            async with aclosing(self.stream()) as stream:
                parser = _WholeForm(
                    self.headers, stream, max_files=max_files, max_fields=max_fields, max_part_size=max_part_size
                )
                self._form = await parser.parse()
        except MultiPartException as error:
            raise HTTPException(status.HTTP_400_BAD_REQUEST, f"the form cannot be read: {error.message}") from error
        return self._form
