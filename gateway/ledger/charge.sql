-- Write down what `reserve` took from one account, in the same transaction.
INSERT INTO charges (job, kind, name, rho_units, delta0_units, state, charged)
VALUES (:job, :kind, :name, :rho_units, :delta0_units, 'reserved', :charged)
