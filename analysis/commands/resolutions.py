"""How the resolutions of an HVAE are written on a command line: size=32,steps=1 size=16,steps=3,shared=true."""

from typing import Any, get_args

from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from analysis.resolution_line import read, write
from multires.hvae_configs import Resolution

Resolutions = tuple[Resolution, ...]
REGISTRY = ConstructorRegistry()


@REGISTRY.primitive_rule
def _rule(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    if info.type_origin is not tuple or get_args(info.type) != get_args(Resolutions):
        return None
    return PrimitiveConstructorSpec(
        nargs="*",
        metavar="size=INT[,encoder_blocks=INT][,steps=INT][,width=INT][,shared=BOOL][,group=NAME]",
        instance_from_str=lambda items: tuple(read(item) for item in items),
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda value: [write(resolution) for resolution in value],
    )
