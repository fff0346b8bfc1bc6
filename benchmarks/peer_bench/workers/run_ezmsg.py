"""ezmsg: the LSL inlet of ezmsg-lsl -> a unit with torch on the full window at each hop -> its LSL outlet."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import ezmsg.core as ez
import numpy as np
import pylsl
from ezmsg.lsl.inlet import LSLInfo, LSLInletSettings, LSLInletUnit
from ezmsg.lsl.outlet import LSLOutletSettings, LSLOutletUnit
from ezmsg.util.messages.axisarray import AxisArray
from network import torch_network
from options import N_CHANNELS, N_WINDOW, read_options
from windows import Windows


class DecoderSettings(ez.Settings):
    model: str
    hop: int


class Decoder(ez.Unit):
    """One message for each chunk that completes windows: one for each window would take a whole core at hop 1."""

    SETTINGS = DecoderSettings
    INPUT = ez.InputStream(AxisArray)
    OUTPUT = ez.OutputStream(AxisArray)

    async def initialize(self) -> None:
        self.decide = torch_network(self.SETTINGS.model)
        self.windows = Windows(n_window=N_WINDOW, n_channels=N_CHANNELS, hop=self.SETTINGS.hop)

    @ez.subscriber(INPUT)
    @ez.publisher(OUTPUT)
    async def on_chunk(self, message: AxisArray) -> AsyncGenerator:
        time_axis = message.axes["time"]  # regular: the stamp of the first sample, and the period
        rows, stamps = [], []
        for last, window in self.windows.process(message.data):
            rows.append([*self.decide(window), 1.0])
            stamps.append(time_axis.value(last))
        if rows:
            axis = AxisArray.CoordinateAxis(data=np.array(stamps), dims=["time"], unit="s")
            data = np.array(rows, np.float32)  # (n_rows, 3)
            yield self.OUTPUT, AxisArray(data, dims=["time", "ch"], axes={"time": axis}, key="decoder")


def main() -> None:
    options = read_options()
    # LSL's clock and no flags: stamps pass as they are. The rest are its defaults: a blocking pull that returns with
    # the first sample, pull_timeout = 0.1.
    inlet = LSLInletUnit(
        LSLInletSettings(info=LSLInfo(name=options.stream), use_lsl_clock=True, processing_flags=pylsl.proc_none)
    )
    decoder = Decoder(DecoderSettings(model=options.model, hop=options.hop))
    outlet = LSLOutletUnit(
        LSLOutletSettings(stream_name=options.out, stream_type="Probabilities", assume_lsl_clock=True)
    )
    # One process: messages pass by reference. The decoder in a process of its own added 3 to 5 ms.
    ez.run(
        INLET=inlet,
        DECODER=decoder,
        OUTLET=outlet,
        connections=((inlet.OUTPUT_SIGNAL, decoder.INPUT), (decoder.OUTPUT, outlet.INPUT_SIGNAL)),
        force_single_process=True,
    )


if __name__ == "__main__":
    main()
