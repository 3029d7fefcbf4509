"""Score models on stores: the run, tables, intervals, the gate and the report."""
