-- expire: end jobs that did not start in time, and stop flows that did not end in time.
--
-- uses  ledger append finish flow
-- ARGV  count  int  at most this many in one call
-- Returns how many expired.
local ended_now = 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', expiring, '-inf', now, 'LIMIT', 0, count)) do
  local job = read_job(id)
  if job and (job.state == 'waiting' or job.state == 'delayed' or job.state == 'blocked') then
    if job.parts then
      redis.call('ZREM', expiring, id)
      stop_flow(id, 'dead', 'deadline', 'the flow has not ended in time')
    else
      finish(job, 'expired', 'expired', 'not started in time')
    end
    ended_now = ended_now + 1
  else
    redis.call('ZREM', expiring, id)
  end
end
close()
return ended_now
