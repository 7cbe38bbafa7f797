"""A detector as a service: images come by HTTP, are scored together, and are kept nowhere; docs/serve.md."""

from anatpaste_gpu.extras import require

require("anatpaste_gpu.serve", "serve")
