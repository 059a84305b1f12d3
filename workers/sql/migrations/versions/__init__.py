"""The revisions, in order of their numbers; a released one never changes."""
