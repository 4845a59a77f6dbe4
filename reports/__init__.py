"""Tables and figures made from records; no torch."""
