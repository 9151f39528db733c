-- expire: end jobs that did not start in time.
--
-- uses  ledger append finish
-- ARGV  count  int  at most this many in one call
-- Returns how many expired.
local ended_now = 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', expiring, '-inf', now, 'LIMIT', 0, count)) do
  local job = read_job(id)
  if job and (job.state == 'waiting' or job.state == 'delayed' or job.state == 'blocked') then
    finish(job, 'expired', 'expired', 'not started in time')
    ended_now = ended_now + 1
  else
    redis.call('ZREM', expiring, id)
  end
end
close()
return ended_now
