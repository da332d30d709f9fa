"""What runs for days: the scheduler and the status page. Nothing here reads a source or sends an object."""
