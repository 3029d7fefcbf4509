"""Yearly series: one composite of clear observations per sensor, region and year."""
