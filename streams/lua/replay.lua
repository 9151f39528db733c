-- replay: make ended jobs runnable again, as if just submitted, with their ids and inputs.
--
-- uses  ledger append
-- KEYS  payload_  STRING  by job
--       result_   STRING  by job
--       ended_    ZSET    by app
--       dead_     ZSET    by app
-- ARGV  rest...   jobs
-- Returns per job: replayed, gone (no record or no input), or the state that forbids it.
local answers = {}

local function replay(id)
  local key = job_ .. id
  local row = redis.call('HMGET', key, 'state', 'lane')
  local state, lane = row[1], row[2]
  if not state or redis.call('EXISTS', payload_ .. id) == 0 then return 'gone' end
  if state ~= 'dead' and state ~= 'cancelled' and state ~= 'expired' then return state end
  local class, app = lane_parts(lane)
  redis.call('HDEL', key, 'failures', 'crashes', 'code', 'error', 'cancel', 'end', 'prev', 'due',
    'expires', 'progress', 'note')
  redis.call('HSET', key, 'state', 'waiting', 'entry', append(id, lane), 'token', '')
  redis.call('PERSIST', key)
  redis.call('PERSIST', payload_ .. id)
  redis.call('DEL', result_ .. id)
  redis.call('ZREM', (state == 'dead' and dead_ or ended_) .. app, id)
  move(class, app, state, 'waiting')
  event('submitted', id, lane, 'waiting', 0, 'replayed=' .. state)
  return 'replayed'
end

for i = rest, #ARGV do answers[#answers + 1] = replay(ARGV[i]) end
close()
return answers
