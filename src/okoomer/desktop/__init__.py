"""The agent in a person's session: it shows what okoomer says as notifications, and takes the answers back."""
