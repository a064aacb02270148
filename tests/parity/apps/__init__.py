"""The applications that both servers serve; each module's `app` is one."""
