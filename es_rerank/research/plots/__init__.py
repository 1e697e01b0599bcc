"""Pictures of measurements in SVG: text in, text out. By hand, since a plotting library would be the largest dependency."""
