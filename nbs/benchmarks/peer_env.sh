#!/usr/bin/env bash
# Make the environment of a peer that needs older packages than embgeom: steering-vectors works with transformers below 5.
#
#     bash nbs/benchmarks/peer_env.sh [FOLDER]     # ~/.cache/embgeom/peers where none is given
#
# steering.ipynb looks for it there, or where EMBGEOM_PEERS says. The torch is a build for processors alone, of the version that
# embgeom is measured with; where pip does not find one: PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
set -euo pipefail
folder=${1:-$HOME/.cache/embgeom/peers}
python3 -m venv "$folder"
"$folder/bin/pip" install --quiet "torch==2.13.0+cpu" "steering-vectors==0.12.2" "transformers==4.57.6"
"$folder/bin/python" -c "import steering_vectors, torch, transformers; print('torch', torch.__version__, 'transformers', transformers.__version__)"
