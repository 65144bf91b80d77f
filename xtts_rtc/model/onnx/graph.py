"""Writing one ONNX graph node by node, its weights going straight to a file beside it.

Needs the `onnx` package, at conversion only. Knows nothing of XTTS.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

OPSET = 20
IR_VERSION = 9
"""Opset 20 brings Gelu; both are read by onnxruntime from 1.17 on."""
MICROSOFT = "com.microsoft"
_INLINE_BYTES = 256
_ALIGN_BYTES = 4096
"""External tensors start on a page, so that a loader may map them."""

Array = NDArray[np.float32] | NDArray[np.int8] | NDArray[np.uint8] | NDArray[np.int32] | NDArray[np.int64]
Attribute = int | float | str | Sequence[int]


class WeightFile:
    """Tensors one after another in one file, each stored once per name; several graphs may point into it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO = path.open("wb")
        self._places: dict[str, tuple[int, int]] = {}

    def add(self, name: str, array: Array) -> tuple[int, int]:
        """Append `array` unless `name` is there already; offset and length in bytes."""
        if name not in self._places:
            self._file.write(b"\0" * (-self._file.tell() % _ALIGN_BYTES))
            self._places[name] = (self._file.tell(), array.nbytes)
            self._file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        return self._places[name]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


class Graph:
    """A graph under construction. Tensors are named by strings; `node` returns the name it made."""

    def __init__(self, name: str, weights: WeightFile) -> None:
        self._name = name
        self._weights = weights
        self._nodes: list[NodeProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._consts: dict[str, TensorProto] = {}

    def input(self, name: str, shape: Sequence[int | str], dtype: int = TensorProto.FLOAT) -> str:
        """Declare an input; a string in `shape` is a free dimension."""
        self._inputs.append(helper.make_tensor_value_info(name, dtype, list(shape)))
        return name

    def output(self, name: str, shape: Sequence[int | str], dtype: int = TensorProto.FLOAT) -> None:
        """Declare the tensor `name` an output."""
        self._outputs.append(helper.make_tensor_value_info(name, dtype, list(shape)))

    def const(self, name: str, array: Array) -> str:
        """A constant: small ones inside the graph, others in the weight file."""
        if name in self._consts:
            return name
        if array.nbytes <= _INLINE_BYTES:
            self._consts[name] = numpy_helper.from_array(array, name)  # ascontiguousarray would give a scalar an axis
            return name
        offset, length = self._weights.add(name, array)
        tensor = TensorProto(
            name=name, data_type=helper.np_dtype_to_tensor_dtype(array.dtype), data_location=TensorProto.EXTERNAL
        )
        tensor.dims.extend(array.shape)
        entries = {"location": self._weights.path.name, "offset": str(offset), "length": str(length)}
        for key, value in entries.items():
            tensor.external_data.add(key=key, value=value)
        self._consts[name] = tensor
        return name

    def ints(self, *values: int) -> str:
        """A constant vector of int64, shared by value."""
        return self.const("ints_" + "_".join(map(str, values)), np.array(values, np.int64))

    def scalar(self, value: float) -> str:
        """A constant float32 scalar, shared by value."""
        return self.const(f"scalar_{value!r}", np.array(value, np.float32))

    def node(
        self, op: str, inputs: Sequence[str], *, out: str | None = None, domain: str = "", **attributes: Attribute
    ) -> str:
        """Append an operator with one output; returns the output's name."""
        return self.nodes(op, inputs, outs=[out or f"{op}_{len(self._nodes)}"], domain=domain, **attributes)[0]

    def nodes(
        self, op: str, inputs: Sequence[str], *, outs: Sequence[str], domain: str = "", **attributes: Attribute
    ) -> list[str]:
        """Append an operator with several outputs; returns their names."""
        self._nodes.append(
            NodeProto(
                op_type=op,
                input=inputs,
                output=outs,
                name=f"{self._name}_{len(self._nodes)}",
                domain=domain,
                attribute=[helper.make_attribute(key, value) for key, value in attributes.items()],
            )
        )
        return list(outs)

    def save(self, path: Path) -> None:
        """Write the graph; it must lie in the folder of its weight file."""
        graph = helper.make_graph(self._nodes, self._name, self._inputs, self._outputs, list(self._consts.values()))
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(MICROSOFT, 1)]
        model = helper.make_model(graph, opset_imports=opsets, producer_name="xtts-rtc", ir_version=IR_VERSION)
        path.write_bytes(model.SerializeToString())


__all__ = ["MICROSOFT", "Array", "Graph", "WeightFile"]
