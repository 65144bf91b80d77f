"""How the embedded voice is made: text, synthetic speech, codes, GPT, vocoder, evaluation, export. Not in the wheel."""
