"""A browser on the monitor's computer: logs every update of the page. page.py PORT LOG."""

import sys
from pathlib import Path

from websockets.sync.client import connect

port, log = sys.argv[1:3]
address = f"127.0.0.1:{port}"
with (
    Path(log).open("w", buffering=1) as file,
    connect(f"ws://{address}/live", origin=f"http://{address}", max_size=None) as page,
):
    print("page: open", flush=True)
    for update in page:
        if isinstance(update, str):
            file.write(update + "\n")
