-- fire: make the jobs of a schedule's ticks, if it still stands where the caller saw it.
--
-- uses  ledger append accept
-- KEYS  schedule_     HASH  by app|name
--       schedule_due  ZSET  schedules by when their next tick runs
-- ARGV  name       str  app|name
--       revision   int  that the caller saw
--       stands_ms  int  the next instant that the caller saw
--       until_ms   int  ticks up to this instant are dealt with
--       next_ms    int  the next instant then, 0 for none
--       due_ms     int  when its tick runs
--       missed     int  ticks that were due and are dropped
--       ticks...   instant, job id; oldest first
-- Returns {jobs made, ticks skipped since the job before had not ended}; {-1, 0}, and nothing done,
-- when somebody else fired or changed it. A job id that exists is no new job: two callers who did
-- not know of each other, as after a rollback, make one.
-- Redis at maxmemory refuses the first write, and so the whole call.
local key = schedule_ .. name
local FIELDS = { 'revision', 'next', 'paused', 'overlap', 'job', 'lane', 'payload', 'limits',
  'expires', 'callback', 'tags' }
local has = {}
for i, value in ipairs(redis.call('HMGET', key, unpack(FIELDS))) do has[FIELDS[i]] = value end
if has.revision ~= revision or has.next ~= stands_ms or has.paused == '1' then return { -1, 0 } end

local expires = tonumber(has.expires) > 0 and now + tonumber(has.expires) or 0
local job, at, made, skipped = has.job, nil, 0, 0
for i = ticks, #ARGV, 2 do
  if has.overlap == 'skip' and job and LIVE[redis.call('HGET', job_ .. job, 'state')] then
    skipped = skipped + 1
  else
    at, job = ARGV[i], ARGV[i + 1]
    local row = { job, has.lane, has.payload, has.limits, 0, 0, expires, has.callback, has.tags, '', '', '' }
    local _, created = accept(row, 1)
    made = made + created
  end
end
redis.call('HSET', key, 'next', next_ms, 'until', until_ms)
if at then redis.call('HSET', key, 'job', job, 'at', at) end
redis.call('HINCRBY', key, 'fired', made)
redis.call('HINCRBY', key, 'missed', missed)
redis.call('HINCRBY', key, 'skipped', skipped)
if next_ms == '0' then
  redis.call('ZREM', schedule_due, name)
else
  redis.call('ZADD', schedule_due, due_ms, name)
end
close()
return { made, skipped }
