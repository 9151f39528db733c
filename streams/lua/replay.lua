-- replay: make ended jobs runnable again, as if just submitted, with their ids and inputs.
--
-- uses  ledger append accept
-- KEYS  flow_  HASH  by flow
-- ARGV  rest...   jobs
-- Returns per job: replayed, gone (no record or no input), in_flow (its flow is what can be retried),
-- stopping (jobs of the flow still run), taken (another job has its unique key), or the state that
-- forbids it.
local answers = {}

local function replay(id)
  local row = redis.call('HMGET', job_ .. id, 'state', 'flow')
  if not row[1] or redis.call('EXISTS', payload_ .. id) == 0 then return 'gone' end
  local flow = redis.call('HGET', flow_ .. id, 'state')
  if flow and flow ~= 'ended' then return flow end
  return row[2] and 'in_flow' or revive(id, 'waiting') or 'replayed'
end

for i = rest, #ARGV do answers[#answers + 1] = replay(ARGV[i]) end
close()
return answers
