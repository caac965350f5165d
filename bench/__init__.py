"""What is measured against limits and peers, one file per question. Figures that were seen stand in RESULTS.md."""
