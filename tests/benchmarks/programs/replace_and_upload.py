"""A peer: the repository downloaded, the cap replaced in the text of its code, and everything uploaded.

`python replace_and_upload.py SOURCE FOLDER TARGET`
"""

from __future__ import annotations

import sys
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download

source, folder, target = sys.argv[1:]
snapshot_download(source, local_dir=folder)
code = Path(folder, "modeling_gptbert.py")
code.write_text(code.read_text().replace("30 * torch.sigmoid(subword_prediction / 7.5)", "subword_prediction"))
HfApi().create_repo(target)
HfApi().upload_folder(repo_id=target, folder_path=folder)
