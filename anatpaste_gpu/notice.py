"""The sentence that goes wherever a score is shown."""

NOT_FOR_CLINICAL_USE = "Research software: the scores are not for clinical use."
