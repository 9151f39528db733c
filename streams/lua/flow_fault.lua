-- flow_fault: a stage that fans out has found no list to fan out over.
--
-- uses  ledger append finish flow
-- ARGV  id       str  flow
--       round    int  of the flow, in which the list was looked for
--       stage    str
--       code     str  why, a stable word
--       message  str  and a sentence
-- Returns 1, or 0 when it was said before or the flow has another round.
if redis.call('SREM', flow_fans, id .. '|' .. round .. '|' .. stage) == 0 or round_of(id) ~= round then return 0 end
local _, policy = read_stage(id, stage)
if policy == 'fail' then
  stop_flow(id, 'dead', code, stage .. ': ' .. message)
else
  step(id, 'after', stage, 1, 'bad')
end
close()
return 1
