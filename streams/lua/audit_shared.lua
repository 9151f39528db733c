-- audit_shared: the counters that no class has for itself, blocked jobs and callbacks, beside what
-- the structures hold, all read at one moment.
--
-- KEYS  counts           HASH    class|state → jobs
--       blocked          SET     jobs waiting for others
--       callbacks_       STREAM  by endpoint: callbacks to deliver
--       callback_lanes   ZSET    endpoints with callbacks to deliver
--       callback_leases  ZSET    id|entry|endpoint by deadline
--       callback_due     ZSET    callbacks by the time of their next attempt
--       callback_counts  HASH    recorded, waiting, delivered, dead
-- ARGV  classes...  resource classes
-- Returns {what, counted, held, ...}. Changes nothing.
local waits, laned, pending, counted = 0, 0, 0, {}
for i = classes, #ARGV do
  waits = waits + (redis.call('HGET', counts, ARGV[i] .. '|blocked') or 0)
end
local rows = redis.call('HGETALL', callback_counts)
for i = 1, #rows, 2 do counted[rows[i]] = tonumber(rows[i + 1]) end
for _, lane in ipairs(redis.call('ZRANGE', callback_lanes, 0, -1)) do
  local stream = callbacks_ .. lane
  laned = laned + redis.call('XLEN', stream)
  for _, group in ipairs(redis.call('EXISTS', stream) == 1 and redis.call('XINFO', 'GROUPS', stream) or {}) do
    local row = {}
    for i = 1, #group, 2 do row[group[i]] = group[i + 1] end
    if row.name == 'couriers' then pending = pending + row.pending end
  end
end
local waiting = counted.waiting or 0
return {
  'blocked', waits, redis.call('SCARD', blocked),
  'recorded', counted.recorded or 0, waiting + (counted.delivered or 0) + (counted.dead or 0),
  'waiting', waiting, laned + redis.call('ZCARD', callback_due),
  'leased', redis.call('ZCARD', callback_leases), pending,
}
