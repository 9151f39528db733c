-- stage: put a large result beside its job, piece by piece; the settle of that token links it.
--
-- KEYS  gate     -       deleted first: a write that needs no memory opens the script at maxmemory
--       staged_  STRING  by job:token
-- ARGV  id      str    job
--       token   str    of the attempt's lease
--       from    int    bytes before this piece
--       piece   bytes  of the result, JSON
-- Returns how many bytes are there, from which to go on. A piece that does not begin there changes
-- nothing. What is never linked is gone after an hour.
local STAGED_MS = 3600000
redis.call('DEL', gate)
local key = staged_ .. id .. ':' .. token
local there = redis.call('STRLEN', key)
if there == tonumber(from) then there = redis.call('APPEND', key, piece) end
redis.call('PEXPIRE', key, STAGED_MS)
return there
