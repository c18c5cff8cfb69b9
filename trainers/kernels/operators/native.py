"""The operators as the library computes them.

`NATIVE` maps a name to its function. NotImplemented as a result asks for the reference instead, for a type or layout
that the kernel does not take. Arguments have been checked.
"""

from collections.abc import Callable
from typing import Any

from trainers.kernels.operators.native_along import ALONG
from trainers.kernels.operators.native_elementwise import ELEMENTWISE
from trainers.kernels.operators.native_places import PLACES
from trainers.kernels.operators.native_products import PRODUCTS

NATIVE: dict[str, Callable[..., Any]] = {**ELEMENTWISE, **ALONG, **PRODUCTS, **PLACES}
