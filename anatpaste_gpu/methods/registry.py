"""Every method there is, one line a family."""

from anatpaste_gpu.methods import fanogan, fused, ganomaly, memory, pretext, squid
from anatpaste_gpu.methods.lookup import register

register(*pretext.METHODS)
register(*memory.METHODS)
register(*fused.METHODS)
register(*ganomaly.METHODS)
register(*fanogan.METHODS)
register(*squid.METHODS)
