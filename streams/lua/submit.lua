-- submit: accept many jobs in one call.
--
-- uses  ledger append accept finish flow
-- KEYS  shipped    HASH    gateway → sequence of its journal that Redis has
-- ARGV  gateway    str     whose journal this comes from, empty for none
--       sequence   int     the journal's sequence of the last job
--       known      int     what the gateway believes that `shipped` holds, -1 not to compare
--       jobs...    a row each, as in accept
-- Returns what accept says of each job, flat. {moved, shipped}, and nothing done, when
-- the gateway believes something else: Redis lost its tail, and raising `shipped` would hide that.
-- Redis at maxmemory refuses the first write, and so the whole call.
replace = function(id, by)
  finish(read_job(id), 'cancelled', 'replaced', by .. ' took its place')
end

local has = gateway ~= '' and tonumber(redis.call('HGET', shipped, gateway) or 0)
if has and tonumber(known) >= 0 and has ~= tonumber(known) then return { 'moved', has } end

local answers = {}
for i = jobs, #ARGV, ROW do
  answers[#answers + 1], answers[#answers + 2] = accept(ARGV, i)
end
if has and tonumber(sequence) > has then
  redis.call('HSET', shipped, gateway, sequence)
end
close()
return answers
