"""A resolution of an HVAE as it is written on a command line: size=16,steps=3,shared=true."""

import json

from multires import plain
from multires.errors import MultiresError
from multires.hvae_configs import Resolution


def read(item: str) -> Resolution:
    """A resolution from NAME=VALUE,...; raises MultiresError for a name or value that has no place in one."""
    values = {}
    for part in item.split(","):
        name, equals, value = part.partition("=")
        if not equals:
            raise MultiresError(f"--resolutions {item}: expected NAME=VALUE,..., for example size=32,steps=2")
        if name in values:
            raise MultiresError(f"--resolutions {item}: {name} is named twice; a blank is between resolutions: size=8 size=4")
        try:
            values[name] = value if name == "group" else json.loads(value)  # a name, also where it looks like a number
        except ValueError:
            values[name] = value
    return plain.from_json(Resolution, values, f"--resolutions {item}")


def write(resolution: Resolution) -> str:
    """The text that `read` reads back."""
    fields = {name: value for name, value in plain.to_json(resolution).items() if value is not None}
    return ",".join(f"{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in fields.items())
