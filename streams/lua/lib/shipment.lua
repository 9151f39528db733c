-- shipment: jobs of one call, and how far the gateway's journal that they come from is in Redis.
-- Needs ledger, append and accept; stands last, since it closes.
--
-- KEYS  shipped  HASH  gateway → sequence of its journal that Redis has

-- What accept says of each job, flat. {moved, shipped}, and nothing done, when the gateway believes
-- something else: Redis lost its tail, and raising `shipped` would hide that.
local function ship(gateway, sequence, known, from)
  local has = gateway ~= '' and tonumber(redis.call('HGET', shipped, gateway) or 0)
  if has and tonumber(known) >= 0 and has ~= tonumber(known) then return { 'moved', has } end
  local answers = {}
  for i = from, #ARGV, ROW do
    answers[#answers + 1], answers[#answers + 2] = accept(ARGV, i)
  end
  if has and tonumber(sequence) > has then
    redis.call('HSET', shipped, gateway, sequence)
  end
  close()
  return answers
end
