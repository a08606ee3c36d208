"""A peer: the model loaded, saved again and pushed: `python save_and_push.py SOURCE FOLDER TARGET`."""

from __future__ import annotations

import sys

from transformers import AutoConfig, AutoModelForMaskedLM, AutoTokenizer

source, folder, target = sys.argv[1:]
# The published code loads on transformers 5 only with `is_decoder`, and is saved only without its list of tied keys.
config = AutoConfig.from_pretrained(source, trust_remote_code=True)
config.is_decoder = False
model = AutoModelForMaskedLM.from_pretrained(source, config=config, trust_remote_code=True)
model._tied_weights_keys = None
model.save_pretrained(folder)
model.push_to_hub(target)
AutoTokenizer.from_pretrained(source).push_to_hub(target)
