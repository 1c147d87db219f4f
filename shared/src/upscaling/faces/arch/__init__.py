"""Networks that spandrel lacks, defined so that the published files load into them as they are."""
