-- audit_balance: one class's counters beside what its structures hold, all read at one moment.
--
-- KEYS  counts    HASH    class|state → jobs
--       running_  HASH    by class: app → active jobs
--       streams_  SET     by class: lanes whose stream exists
--       stream_   STREAM  by lane
--       pools_    SET     by class
--       leases_   ZSET    by pool
--       due_      ZSET    by class
-- ARGV  class      str  resource class
--       lanes_max  int  a class with more lanes is not looked at
-- Returns {what, counted, held, ...}, nothing for a class with too many lanes. Changes nothing.
-- O(lanes of the class).
if redis.call('SCARD', streams_ .. class) > tonumber(lanes_max) then return {} end
local waiting, pending, leases, running, jobs, counted = 0, 0, 0, 0, 0, {}

for _, lane in ipairs(redis.call('SMEMBERS', streams_ .. class)) do
  local stream, held = stream_ .. lane, 0
  if redis.call('EXISTS', stream) == 1 then
    for _, group in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
      local row = {}
      for i = 1, #group, 2 do row[group[i]] = group[i + 1] end
      if row.name == 'workers' then held = row.pending end
    end
    waiting = waiting + redis.call('XLEN', stream) - held
    pending = pending + held
  end
end

local pools = { [class] = true }
for _, pool in ipairs(redis.call('SMEMBERS', pools_ .. class)) do pools[pool] = true end
for pool in pairs(pools) do leases = leases + redis.call('ZCARD', leases_ .. pool) end
for _, count in ipairs(redis.call('HVALS', running_ .. class)) do running = running + count end

local rows = redis.call('HGETALL', counts)
for i = 1, #rows, 2 do
  local of, state = string.match(rows[i], '^(.-)|(.*)$')
  if of == class then
    counted[state] = tonumber(rows[i + 1])
    if state ~= 'submitted' then jobs = jobs + rows[i + 1] end
  end
end
return {
  'submitted', counted.submitted or 0, jobs,
  'waiting', counted.waiting or 0, waiting,
  'active', counted.active or 0, pending,
  'leased', counted.active or 0, leases,
  'running', counted.active or 0, running,
  'delayed', counted.delayed or 0, redis.call('ZCARD', due_ .. class),
}
