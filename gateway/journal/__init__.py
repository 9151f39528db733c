"""The gateway's journal: accepted means on disk here, whatever becomes of Redis meanwhile.

A process writes one file, a thread commits it in groups, a shipper hands its rows to Redis in the
order of their sequence. See decision record 11.
"""
