-- cancel: end a job that has not started, or ask its worker to stop it.
--
-- uses  ledger append finish flow
-- ARGV  id      str  job
--       reason  str  kept with the job
-- Returns cancelled, requested, ended or unknown. The request reaches the worker by the doorbell at
-- once and by its next renew at the latest; a dead worker's job is cancelled when it is reclaimed. A
-- flow ends when all its jobs have.
local job = read_job(id)
if not job then return 'unknown' end
if reason == '' then reason = 'cancelled on request' end
if job.state == 'active' then
  local first = not job.cancel
  redis.call('HSET', job_ .. id, 'cancel', reason)
  if first then
    event('cancelling', id, job.lane, 'active', job.attempt)
    redis.call('XADD', doorbell_ .. job.class, 'MAXLEN', 16, '*', 'cancel', id)
  end
  close()
  return 'requested'
end
if job.state ~= 'waiting' and job.state ~= 'delayed' and job.state ~= 'blocked' then return 'ended' end
if job.parts then
  stop_flow(id, 'cancelled', 'cancelled', reason)
  close()
  return 'requested'
end
finish(job, 'cancelled', 'cancelled', reason)
close()
return 'cancelled'
