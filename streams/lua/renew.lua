-- renew: later deadlines for the leases that are still this worker's.
--
-- uses  ledger append finish flow
-- KEYS  gate      -    deleted first: a write that needs no memory opens the script at maxmemory
-- ARGV  worker    str  consumer
--       lease_ms  int  until the new deadline
--       rest...   job, token
-- Returns {id, lost|cancel, ...} for the jobs of which there is something to say.
redis.call('DEL', gate)
local HELD = { 'state', 'lane', 'entry', 'lease', 'bare', 'cancel', 'crashes', 'prev' }
local answers, classes = {}, {}

local function say(id, what)
  answers[#answers + 1], answers[#answers + 2] = id, what
end

for i = rest, #ARGV, 2 do
  local id, token = ARGV[i], ARGV[i + 1]
  local job = read_job(id, HELD)
  if job and job.state == 'active' and job.token == token then
    redis.call('ZADD', leases_ .. job.pool, now + lease_ms, job.lane .. '|' .. job.entry)
    -- Without its group the lane loses the consumer's name only; the lease stands.
    redis.pcall('XCLAIM', stream_ .. job.lane, 'workers', worker, 0, job.entry, 'JUSTID')
    classes[job.class] = true
    if job.cancel then say(id, 'cancel') end
  else
    if job then forgive(job, token) end
    say(id, 'lost')
  end
end
for class in pairs(classes) do tick(class) end
return answers
