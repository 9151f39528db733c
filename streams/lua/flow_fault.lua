-- flow_fault: a stage that fans out has found no list to fan out over.
--
-- uses  ledger append finish flow
-- ARGV  id       str  flow
--       stage    str
--       code     str  why, a stable word
--       message  str  and a sentence
-- Returns 1, or 0 when it was said before.
if redis.call('SREM', flow_fans, id .. '|' .. stage) == 0 then return 0 end
local _, policy = read_stage(id, stage)
if policy == 'fail' then
  stop_flow(id, 'dead', code, stage .. ': ' .. message)
else
  step(id, 'after', stage, 1, 'bad')
end
close()
return 1
