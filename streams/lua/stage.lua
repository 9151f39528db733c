-- stage: put a large result beside its job; the settle of that token links it.
--
-- KEYS  gate     -       deleted first: a write that needs no memory opens the script at maxmemory
--       staged_  STRING  by job:token
-- ARGV  id      str    job
--       token   str    of the attempt's lease
--       result  bytes  JSON
-- Returns nothing. What is never linked is gone after an hour.
local STAGED_MS = 3600000
redis.call('DEL', gate)
redis.call('SET', staged_ .. id .. ':' .. token, result, 'PX', STAGED_MS)
