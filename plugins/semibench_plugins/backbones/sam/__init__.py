"""SAM, the Segment Anything Model, as a backbone that takes point prompts."""
