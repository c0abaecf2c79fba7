"""D-Bus over jeepney: one connection that a loop of its own drives. It knows messages, and nothing of memory."""
