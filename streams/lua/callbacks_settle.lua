-- callbacks_settle: write how one delivery ended and let go of its entry, fenced by the token.
--
-- uses  ledger
-- KEYS  gate             -       deleted first: a write that needs no memory opens the script at maxmemory
--       callback_        HASH    by callback
--       callbacks        STREAM  callbacks to deliver
--       callback_leases  ZSET    id|entry by deadline
--       callback_due     ZSET    callbacks by the time of their next attempt
--       callback_done    ZSET    delivered, by time
--       callback_dead    ZSET    given up, by time
--       callback_counts  HASH    recorded, waiting, delivered, dead
-- SETS  retention_ms       int  how long a delivered callback is kept
--       dead_retention_ms  int  how long a given up callback is kept
-- ARGV  id        str  callback
--       token     str  of the lease
--       kind      str  delivered, retry, put_back (the attempt does not count) or dead
--       delay_ms  int  until the next attempt
--       status    int  HTTP status, 0 for none
--       reason    str  what went wrong, at most a line
--       took_ms   int  how long the attempt took
-- Returns settled, already or lost.
local LOG_MAX = 8192
redis.call('DEL', gate)
local key = callback_ .. id
local row = redis.call('HMGET', key, 'token', 'entry', 'status', 'log')
if not row[3] then return 'lost' end
if row[1] == 'settled ' .. token then return 'already' end
if row[1] ~= token then return 'lost' end

local function end_as(state, set, keep)
  redis.call('HSET', key, 'status', state)
  redis.call('ZADD', set, now, id)
  redis.call('PEXPIRE', key, keep)
  redis.call('HINCRBY', callback_counts, 'waiting', -1)
  redis.call('HINCRBY', callback_counts, state, 1)
end

if kind == 'put_back' then
  redis.call('HINCRBY', key, 'tries', -1)
else
  local log = (row[4] or '') .. now .. '\t' .. status .. '\t' .. took_ms .. '\t' .. reason .. '\n'
  if #log > LOG_MAX then log = string.match(string.sub(log, -LOG_MAX), '\n(.*)$') end
  redis.call('HSET', key, 'log', log)
end
if kind == 'delivered' then
  end_as('delivered', callback_done, retention_ms)
elseif kind == 'dead' then
  redis.call('HSET', key, 'reason', reason)
  end_as('dead', callback_dead, dead_retention_ms)
else
  redis.call('ZADD', callback_due, now + delay_ms, id)
  redis.call('HSET', key, 'due', now + delay_ms)
end
redis.call('HSET', key, 'token', 'settled ' .. token)
redis.call('ZREM', callback_leases, id .. '|' .. row[2])
redis.call('XACK', callbacks, 'couriers', row[2])
redis.call('XDEL', callbacks, row[2])
return 'settled'
