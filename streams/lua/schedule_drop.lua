-- schedule_drop: forget a schedule. Jobs that it made stay.
--
-- KEYS  schedule_     HASH  by app|name
--       schedules     ZSET  all schedules
--       schedule_due  ZSET  schedules by when their next tick runs
-- ARGV  name  str  app|name
-- Returns 1, or 0 when there was none.
redis.call('ZREM', schedule_due, name)
redis.call('ZREM', schedules, name)
return redis.call('DEL', schedule_ .. name)
