-- purge: forget ended jobs before their time, with their inputs and results. Counters stay.
--
-- uses  ledger
-- KEYS  gate      -       deleted first: a write that needs no memory opens the script at maxmemory
--       job_      HASH    by job
--       payload_  STRING  by job
--       result_   STRING  by job
--       ended_    ZSET    by app
--       dead_     ZSET    by app
-- ARGV  state    str  only jobs that ended so; empty: any that ended
--       rest...  jobs
-- Returns per job: purged, gone, in_flow (its flow has not ended and may read it), or the state that
-- forbids it.
redis.call('DEL', gate)
local ENDED = { succeeded = true, dead = true, cancelled = true, expired = true }
local answers = {}

local function purge(id)
  local key = job_ .. id
  local row = redis.call('HMGET', key, 'state', 'lane')
  if not row[1] then return 'gone' end
  if not ENDED[row[1]] or (state ~= '' and row[1] ~= state) then return row[1] end
  if redis.call('PTTL', key) == -1 then return 'in_flow' end
  local _, app = lane_parts(row[2])
  redis.call('ZREM', (row[1] == 'dead' and dead_ or ended_) .. app, id)
  redis.call('DEL', payload_ .. id, result_ .. id, key)
  return 'purged'
end

for i = rest, #ARGV do answers[#answers + 1] = purge(ARGV[i]) end
return answers
