"""Forecasting: later frames of a sensor from earlier ones."""
