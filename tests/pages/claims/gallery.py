"""docs/gallery.md, which measures nothing."""

EXEMPT = {
    "Online accuracy over 100 tasks": "a setting",
    "**L2 Init over 100 tasks.**": "a setting",
}
