"""Characters into segments and token ids. Knows no audio, clock or model."""
