"""OpenVINO without its telemetry.

On import OpenVINO starts a process that reports to its maker over the network, in every worker of
a cluster. Where `openvino_telemetry` cannot be imported it uses a stub of its own instead; so it
cannot, while OpenVINO is imported here.
"""

import sys

_installed = sys.modules.get("openvino_telemetry")
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # what makes an import fail
try:
    import openvino
    from openvino import opset13
finally:
    if _installed is None:
        del sys.modules["openvino_telemetry"]
    else:
        sys.modules["openvino_telemetry"] = _installed

__all__ = ["openvino", "opset13"]
