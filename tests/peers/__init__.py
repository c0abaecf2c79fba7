"""okoomer beside the real earlyoom and nohang: many random worlds, and one decision of each on every one of them."""
