-- audit_recount: set a class's counters to what its structures hold, when an operator has looked why
-- they differ.
--
-- uses  ledger
-- KEYS  counts    HASH    class|state → jobs
--       running_  HASH    by class: app → active jobs
--       streams_  SET     by class: lanes whose stream exists
--       stream_   STREAM  by lane
--       due_      ZSET    by class
-- ARGV  class      str  resource class
--       lanes_max  int  a class with more lanes is left alone
-- Returns how many counters changed. `submitted` becomes the sum: jobs that vanished are forgotten.
if redis.call('SCARD', streams_ .. class) > tonumber(lanes_max) then return 0 end
local held, apps, changed, sum = { waiting = 0, active = 0 }, {}, 0, 0

for _, lane in ipairs(redis.call('SMEMBERS', streams_ .. class)) do
  local stream, pending, _, app = stream_ .. lane, 0, lane_parts(lane)
  if app and redis.call('EXISTS', stream) == 1 then
    for _, group in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
      local row = {}
      for i = 1, #group, 2 do row[group[i]] = group[i + 1] end
      if row.name == 'workers' then pending = row.pending end
    end
    held.waiting = held.waiting + redis.call('XLEN', stream) - pending
    held.active = held.active + pending
    apps[app] = (apps[app] or 0) + pending
  end
end
held.delayed = redis.call('ZCARD', due_ .. class)

local function set(key, field, value)
  if tonumber(redis.call('HGET', key, field) or 0) ~= value then
    redis.call('HSET', key, field, value)
    changed = changed + 1
  end
end

for state, value in pairs(held) do set(counts, class .. '|' .. state, value) end
for _, app in ipairs(redis.call('HKEYS', running_ .. class)) do apps[app] = apps[app] or 0 end
for app, value in pairs(apps) do
  set(running_ .. class, app, value)
  if value == 0 then redis.call('HDEL', running_ .. class, app) end
end
local rows = redis.call('HGETALL', counts)
for i = 1, #rows, 2 do
  local of, state = string.match(rows[i], '^(.-)|(.*)$')
  if of == class and state ~= 'submitted' then sum = sum + rows[i + 1] end
end
set(counts, class .. '|submitted', sum)
return changed
