-- schedule_put: write a schedule, if it still stands where the caller saw it.
--
-- KEYS  schedule_     HASH  by app|name
--       schedules     ZSET  all schedules
--       schedule_due  ZSET  schedules by when their next tick runs
-- ARGV  name       str  app|name
--       revision   int  that the caller saw; 0: there was none
--       stands_ms  int  the next instant that the caller saw
--       due_ms     int  when the next tick runs; 0: none does
--       fields...  name, value: what is written
-- Returns 1, or 0 when somebody else changed or fired it meanwhile: nothing is written.
local key = schedule_ .. name
local there = redis.call('HMGET', key, 'revision', 'next')
if (there[1] or '0') ~= revision or (there[2] or stands_ms) ~= stands_ms then return 0 end
redis.call('HSET', key, 'revision', revision + 1, unpack(ARGV, fields))
redis.call('ZADD', schedules, 0, name)
if due_ms == '0' then
  redis.call('ZREM', schedule_due, name)
else
  redis.call('ZADD', schedule_due, due_ms, name)
end
return 1
